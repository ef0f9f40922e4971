//go:build cgo && (linux || darwin || freebsd || netbsd || openbsd)

#include "shim.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

struct block {
	pcap_t *p;
	unsigned char *data;
	size_t size, used;
	size_t most; /* that the next packet may take */
	int64_t unit;
	uint32_t packets;
};

static void take(u_char *user, const struct pcap_pkthdr *h, const u_char *data)
{
	struct block *b = (struct block *)user;
	struct kgm_record r;
	size_t n = h->caplen;

	if (n > b->most - sizeof r)
		n = b->most - sizeof r; /* cannot be: libpcap cuts to snaplen */
	r.caplen = (uint32_t)n;
	r.len = h->len;
	r.sec = h->ts.tv_sec;
	r.nsec = h->ts.tv_usec * b->unit;
	memcpy(b->data + b->used, &r, sizeof r);
	memcpy(b->data + b->used + sizeof r, data, n);
	b->used += (sizeof r + n + 7) & ~(size_t)7;
	b->packets++;
	if (b->size < b->used + b->most)
		pcap_breakloop(b->p);
}

/*
 * state says whether the interface is there and up. libpcap itself waits for one
 * that went down to come up again, and in non-blocking mode wants to be called again
 * and again meanwhile.
 */
static int state(pcap_t *p, const char *ifname)
{
#ifdef __linux__
	struct ifreq ifr;

	memset(&ifr, 0, sizeof ifr);
	if (strlen(ifname) >= sizeof ifr.ifr_name)
		return KGM_OK;
	strcpy(ifr.ifr_name, ifname);
	if (ioctl(pcap_fileno(p), SIOCGIFFLAGS, &ifr) == -1)
		return errno == ENODEV || errno == ENXIO ? KGM_GONE : KGM_OK;
	if (!(ifr.ifr_flags & IFF_UP))
		return KGM_DOWN;
#else
	(void)p;
	(void)ifname;
#endif
	return KGM_OK;
}

struct kgm_result kgm_read(pcap_t *p, unsigned char *data, size_t size, uint32_t snaplen,
			   int64_t unit, const char *ifname)
{
	struct block b = {p, data, size, 0, 0, unit, 0};
	struct kgm_result r = {KGM_OK, 0, 0};
	int n, tries;

	b.most = (sizeof(struct kgm_record) + snaplen + 7) & ~(size_t)7;
	/* A second time, for a pcap_breakloop that came with the last packet of the call before. */
	for (tries = 0; tries < 2; tries++) {
		n = pcap_dispatch(p, -1, take, (u_char *)&b);
		if (b.packets > 0 || n != PCAP_ERROR_BREAK)
			break;
	}
	if (n < 0 && n != PCAP_ERROR_BREAK)
		r.status = KGM_ERROR;
	else if (b.packets == 0 && ifname != NULL)
		r.status = state(p, ifname);
	r.packets = b.packets;
	r.bytes = b.used;
	return r;
}

int kgm_kernel_filter(pcap_t *p)
{
#ifdef SO_GET_FILTER
	socklen_t n = 0;

	if (getsockopt(pcap_fileno(p), SOL_SOCKET, SO_GET_FILTER, NULL, &n) == 0)
		return (int)n;
#else
	(void)p;
#endif
	return -1;
}

int kgm_address(const struct sockaddr *a, unsigned char *bytes)
{
	if (a != NULL && a->sa_family == AF_INET) {
		memcpy(bytes, &((const struct sockaddr_in *)a)->sin_addr, 4);
		return 4;
	}
	if (a != NULL && a->sa_family == AF_INET6) {
		memcpy(bytes, &((const struct sockaddr_in6 *)a)->sin6_addr, 16);
		return 16;
	}
	return 0;
}
