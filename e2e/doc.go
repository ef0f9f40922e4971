// Package e2e tests kagami as its users run it: the real binary beside a real
// nginx, load from ab and wrk, packets between network namespaces. It holds
// tests only. They need root (and skip without, saying so); every namespace
// and process they make is gone afterwards, also when a test fails.
package e2e
