// Package bench measures. What mirroring costs production, beside a real nginx, is
// measured by the command in bench/run:
//
//	sudo make bench
//
// In this package are Go benchmarks: production while staging is in trouble, on hosts made
// of network namespaces, which needs root as well,
//
//	make bench-root
//
// and what anyone can measure: what capturing costs by itself, from the bytes of a pcap file
// to messages, how much memory a listener takes, and how exactly a replay keeps its times:
//
//	go test -run '^$' -bench 'Capture|Memory|Pacing' ./bench
//
// What is compared is measured in one run, interleaved, and reported as medians
// of ratios, for machines are noisy.
package bench
