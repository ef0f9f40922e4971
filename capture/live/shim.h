#ifndef KAGAMI_SHIM_H
#define KAGAMI_SHIM_H

#include <pcap/pcap.h>
#include <stddef.h>
#include <stdint.h>

/* A packet in a block: this header, caplen bytes, padding to 8 bytes. */
struct kgm_record {
	uint32_t caplen;
	uint32_t len;
	int64_t sec;
	int64_t nsec;
};

enum { KGM_OK = 0, KGM_ERROR = -1, KGM_DOWN = -2, KGM_GONE = -3 };

/* What a read returned: a status and, even if that is an error, a block. */
struct kgm_result {
	int status;
	uint32_t packets;
	size_t bytes;
};

/*
 * kgm_read copies the packets that are ready into block, as many as fit. One
 * of snaplen bytes must fit. It does not wait and keeps no pointer. If there
 * are none and ifname is not NULL, it looks whether that interface is still there and up.
 */
struct kgm_result kgm_read(pcap_t *p, unsigned char *block, size_t size, uint32_t snaplen,
			   int64_t unit, const char *ifname);

/*
 * kgm_kernel_filter returns how many instructions the filter that the kernel
 * runs on the socket has, or -1 if that cannot be known.
 */
int kgm_kernel_filter(pcap_t *p);

/* kgm_address copies the bytes of an IP address and returns how many: 4, 16, or 0 for another kind. */
int kgm_address(const struct sockaddr *a, unsigned char *bytes);

#endif
