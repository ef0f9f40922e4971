// Package compare finds where staging's answers differ from production's.
//
// A [Compare] is an Output: production's answers and staging's are written to
// it, and it joins them by exchange in a table bounded in bytes and time.
//
//	c, err := compare.New(compare.Config{
//		Ignore: []string{"$..updated_at", "header:X-Build", "pattern:token=[0-9a-f]+"},
//		Each:   func(v compare.Verdict) { results.Add(v) },
//	})
//	if err != nil {
//		return err
//	}
//	// … c.Write from wherever messages come …
//	if err := c.Close(); err != nil {
//		return err
//	}
//	_, err = c.Report().WriteTo(os.Stdout)
//
// Statuses, headers and bodies are compared. The bodies are compared without
// their transfer coding (chunked) and content coding (gzip, deflate, br, zstd);
// that an answer is coded otherwise is a difference of the header
// Content-Encoding, that it is chunked is none. Where both are JSON they are
// compared by structure:
//
//   - The order of an object's members is no difference, that of an array's
//     elements is. An element put in or taken out is one difference, not one for
//     each that stands behind it.
//   - Numbers are the same if their value is, exactly and at any length: 1, 1.0
//     and 1e0 are. A number and a text never are, nor are null and nothing.
//   - A text that has a name twice in one object is not taken for JSON. What is
//     not JSON is compared byte by byte.
//
// Of answers whose first digit of the status differs nothing else is compared.
//
// Not all that differs means something. Rules (Config.Ignore, [ParseRule]) say
// what to leave out, and some headers are left out unless asked for
// ([IgnoredHeaders]). With a baseline ([Compare.Baseline]) the answers of an
// unchanged copy of production's server come too: where they differ from
// production's, at the same endpoint and path and in the same way, a difference
// of staging's is noise. This is learned as answers come, and the [Report], not
// the verdicts given before, is corrected by what was learned late.
//
// Differences are grouped by endpoint ([Endpoint]), kind and path.
//
// The package holds no more than its bounds, whatever it is sent: an answer that
// is cut short, too large or broken is not compared, and counted by what it is.
// It neither logs nor exits, and reads no environment; its clock can be replaced.
package compare
