package report

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// The size of the plot and of what is around it, in pixels.
const (
	width, height             = 860, 460
	left, right, top, bottom  = 60, 270, 40, 50
	plotWidth, plotHeight     = width - left - right, height - top - bottom
	labelHeight, whisker, dot = 17, 3, 3.5
)

// colors are told apart by people who do not see all of them.
var colors = []string{"#000000", "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#8a8a00", "#7f3fbf"}

// Plot draws the throughput that production keeps against the share mirrored, a line for
// each mode with whiskers from least to most, as a document of SVG.
func (r *Results) Plot() string {
	lines := r.lines()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" font-family="sans-serif" font-size="13">
<rect width="%[1]d" height="%[2]d" fill="#fff"/>
<text x="%d" y="22" font-size="15">Throughput that production keeps (1 = without a listener)</text>
`, width, height, left)
	highest := 1.0
	for _, l := range lines {
		for _, f := range l {
			highest = max(highest, f.Max)
		}
	}
	y := func(v float64) float64 { return top + plotHeight*(1-min(v, highest)/highest) }
	x := func(share float64) float64 { return left + plotWidth*share/100 }
	for v := 0.0; v <= highest; v += 0.2 {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%[3]f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.1f</text>`+"\n",
			left, left+plotWidth, y(v), left-8, y(v)+4.5, v)
	}
	for _, s := range []float64{0, 10, 20, 50, 100} {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%g %%</text>`+"\n", x(s), top+plotHeight+20, s)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">share that is mirrored</text>`+"\n", left+plotWidth/2, height-10)
	labels := labelPlaces(lines, y)
	for i, l := range lines {
		color := colors[i%len(colors)]
		path := fmt.Sprintf("M%.1f %.1f", x(0), y(1))
		for _, f := range l {
			at := x(f.Share) + 2*float64(i) - float64(len(lines)) // side by side
			path += fmt.Sprintf(" L%.1f %.1f", at, y(f.Median))
			fmt.Fprintf(&b, `<path d="M%.1f %.1f h%d m-%d 0 V%.1f m-%d 0 h%[3]d" stroke="%[7]s" fill="none" opacity="0.6"/>`+"\n",
				at-whisker, y(f.Max), 2*whisker, whisker, y(f.Min), whisker, color)
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="%g" fill="%s"/>`+"\n", at, y(f.Median), dot, color)
		}
		fmt.Fprintf(&b, `<path d="%s" stroke="%s" stroke-width="2" fill="none"/>`+"\n", path, color)
		last := l[len(l)-1]
		fmt.Fprintf(&b, `<path d="M%.1f %.1f L%d %.1f" stroke="%s" stroke-dasharray="2 2" fill="none"/><text x="%d" y="%.1f" fill="%s">%.2f %s</text>`+"\n",
			x(last.Share)+10, y(last.Median), left+plotWidth+28, labels[i], color, left+plotWidth+32, labels[i]+4.5, color, last.Median, html.EscapeString(Name(last.Mode)))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// lines are the figures of each mode in the order of their shares.
func (r *Results) lines() [][]*Figure {
	var modes []string
	of := map[string][]*Figure{}
	for _, f := range r.Figures {
		if f.Section == "table" && f.Metric == "kept" {
			modes = appendOnce(modes, f.Mode)
			of[f.Mode] = append(of[f.Mode], f)
		}
	}
	var all [][]*Figure
	for _, m := range modes {
		slices.SortFunc(of[m], func(a, b *Figure) int { return int(a.Share - b.Share) })
		all = append(all, of[m])
	}
	return all
}

// labelPlaces is where the label of each line stands: at its end, but not over
// another's.
func labelPlaces(lines [][]*Figure, y func(float64) float64) []float64 {
	order := make([]int, len(lines))
	at := make([]float64, len(lines))
	for i, l := range lines {
		order[i], at[i] = i, y(l[len(l)-1].Median)
	}
	slices.SortFunc(order, func(a, b int) int { return int(10 * (at[a] - at[b])) })
	for i := 1; i < len(order); i++ {
		at[order[i]] = max(at[order[i]], at[order[i-1]]+labelHeight)
	}
	if n := len(order); n > 0 { // what was pushed out below goes up again
		at[order[n-1]] = min(at[order[n-1]], float64(top+plotHeight))
		for i := n - 2; i >= 0; i-- {
			at[order[i]] = min(at[order[i]], at[order[i+1]]-labelHeight)
		}
	}
	return at
}
