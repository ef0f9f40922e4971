// Package deploy tests docs/deploy on the real things: a Docker engine, Debian's
// dpkg, rpm, supervisord and systemd. The commands of each page are run as they
// are written there.
//
// No registry is needed: the images that others are built from are made of what
// is installed on this machine, which has to be a Debian. The engine is one of
// the test's own, with a socket, a data directory and a network namespace that
// are gone when the test ends. make test-deploy runs it all, as root.
package deploy
