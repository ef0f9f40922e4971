//go:build cgo && (linux || darwin || freebsd || netbsd || openbsd)

package live

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"net/netip"
	"unsafe"
)

// Devices returns the interfaces that can be captured, "any" included.
func Devices() ([]Device, error) {
	text := (*C.char)(C.calloc(1, C.PCAP_ERRBUF_SIZE))
	defer C.free(unsafe.Pointer(text))
	var list *C.pcap_if_t
	if C.pcap_findalldevs(&list, text) != 0 {
		return nil, fmt.Errorf("list interfaces: %s", C.GoString(text))
	}
	defer C.pcap_freealldevs(list)
	var devices []Device
	for c := list; c != nil; c = c.next {
		d := Device{
			Name:     C.GoString(c.name),
			Up:       c.flags&C.PCAP_IF_UP != 0,
			Loopback: c.flags&C.PCAP_IF_LOOPBACK != 0,
		}
		if c.description != nil {
			d.Description = C.GoString(c.description)
		}
		for a := c.addresses; a != nil; a = a.next {
			var b [16]byte
			n := C.kgm_address(a.addr, (*C.uchar)(&b[0]))
			if addr, ok := netip.AddrFromSlice(b[:n]); ok {
				d.Addrs = append(d.Addrs, addr)
			}
		}
		devices = append(devices, d)
	}
	return devices, nil
}
