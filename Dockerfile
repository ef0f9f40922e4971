# docker build -t kagami .                              captures with the kernel's packet ring
# docker build -t kagami:libpcap --target libpcap .     and with libpcap (--input-raw-bpf-filter, …)
#
# Both are FROM scratch: one static program, CA certificates, a user, nothing else.
# docs/deploy/docker.md says how to run them.
FROM golang:1.26-bookworm AS source
RUN apt-get update \
	&& apt-get install -y --no-install-recommends ca-certificates libcap2-bin libpcap-dev \
	&& rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# What both images have: certificates, a user without rights, and a directory
# for that user's key and recordings.
RUN mkdir -p /image/etc/ssl/certs /image/usr/local/bin /image/var/lib \
	&& cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
	&& echo 'kagami:x:65532:65532::/var/lib/kagami:/sbin/nologin' >/image/etc/passwd \
	&& echo 'kagami:x:65532:' >/image/etc/group \
	&& mkdir /state
ARG VERSION=devel

# The capability is permitted, not effective (+p, not +ep): the process raises it
# while it opens a socket, and a replayer starts where there is none to be had.
FROM source AS build
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /image/usr/local/bin/kagami ./cmd/kagami \
	&& setcap cap_net_raw+p /image/usr/local/bin/kagami

# Linked statically, and without D-Bus: to capture that, which is not to be had in a
# container, Debian's libpcap takes libdbus, libsystemd and what these need.
FROM source AS build-libpcap
ARG VERSION=devel
RUN mkdir /libpcap && cd /libpcap && cp /usr/lib/*/libpcap.a . \
	&& ar d libpcap.a pcap-dbus.o \
	&& printf '%s\n' 'int dbus_findalldevs(void *devices, char *err) { return 0; }' \
		'void *dbus_create(const char *device, char *err, int *ours) { *ours = 0; return 0; }' >nodbus.c \
	&& gcc -c nodbus.c && ar r libpcap.a nodbus.o
RUN CGO_ENABLED=1 CGO_LDFLAGS=-L/libpcap go build -trimpath -tags netgo,osusergo \
		-ldflags "-s -w -linkmode external -extldflags -static -X main.version=${VERSION}" -o /image/usr/local/bin/kagami ./cmd/kagami \
	&& setcap cap_net_raw+p /image/usr/local/bin/kagami

FROM scratch AS base
ARG VERSION=devel
LABEL org.opencontainers.image.title="kagami" \
	org.opencontainers.image.description="Copies live HTTP traffic from production to staging" \
	org.opencontainers.image.version="${VERSION}"
# The admin port is for `kagami health`; to let others scrape it say 0.0.0.0:9090.
# systemd's name for the directory of state is the one kagami knows.
ENV KAGAMI_ADMIN=127.0.0.1:9090 STATE_DIRECTORY=/var/lib/kagami
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/local/bin/kagami", "health"]
ENTRYPOINT ["/usr/local/bin/kagami"]

FROM base AS libpcap
COPY --from=build-libpcap /image/ /
COPY --from=build-libpcap --chown=65532:65532 /state /var/lib/kagami
WORKDIR /var/lib/kagami
USER 65532:65532

FROM base AS kagami
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /state /var/lib/kagami
WORKDIR /var/lib/kagami
USER 65532:65532
