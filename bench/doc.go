// Package bench measures kagami end to end, beside a real nginx, on hosts made of
// network namespaces: production (nginx and the listener) on one core, the client and
// staging on another. It needs root:
//
//	make bench-root
//
// What is compared is measured in one run, interleaved, and reported as medians
// of ratios, for machines are noisy.
package bench
