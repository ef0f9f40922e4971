package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What is between these lines of a document is generated; all else is written by hand.
const (
	begin = "<!-- bench: begin -->\n"
	end   = "<!-- bench: end -->\n"
)

// Publish writes tables and plot into a document of Markdown: the tables between its
// markers, the plot as an SVG file of the document's name beside it.
func Publish(r *Results, document string) error {
	old, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	picture := strings.TrimSuffix(document, filepath.Ext(document)) + ".svg"
	text := r.Markdown()
	if r.has("table") {
		if err := os.WriteFile(picture, []byte(r.Plot()), 0o644); err != nil {
			return err
		}
		text = fmt.Sprintf("![Throughput that production keeps, at each share](%s)\n\n%s", filepath.Base(picture), text)
	}
	updated, err := Replace(string(old), text)
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(updated), 0o644)
}

// Replace puts text between a document's markers.
func Replace(document, text string) (string, error) {
	head, rest, ok := strings.Cut(document, begin)
	if !ok {
		return "", fmt.Errorf("no line %q", strings.TrimSpace(begin))
	}
	_, tail, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("no line %q", strings.TrimSpace(end))
	}
	return head + begin + text + end + tail, nil
}
