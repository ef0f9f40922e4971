// Package testbed is what the end-to-end tests and benchmarks stand on: three
// hosts made of network namespaces, real nginx on them, and kagami beside.
// Everything it makes is gone when the test ends, also when that fails.
package testbed
