package main

import (
	"fmt"
	"net"
	"os"
)

// notifyReady tells a systemd that waits for it (Type=notify, sd_notify(3)) that all is open
// that was asked for. Where nobody waits it does nothing.
func notifyReady() error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return fmt.Errorf("tell systemd that the process is ready: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		return fmt.Errorf("tell systemd that the process is ready: %w", err)
	}
	return nil
}
