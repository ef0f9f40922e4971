// Package bench measures kagami end to end, beside a real nginx, on hosts made of
// network namespaces: production (nginx and the listener) on one core, the client and
// staging on another. That needs root:
//
//	make bench-root
//
// What capturing costs by itself, from the bytes of a pcap file to messages, and how much
// memory a listener takes, anyone can measure:
//
//	go test -run '^$' -bench 'Capture|Memory' ./bench
//
// What is compared is measured in one run, interleaved, and reported as medians
// of ratios, for machines are noisy.
package bench
