# docker build -t kagami .
# A listener in a container needs NET_RAW and the namespace of the server:
#   docker run --cap-add NET_RAW --network container:nginx kagami listen …
# A replayer needs neither.
FROM golang:1.26-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libpcap-dev libcap2-bin && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=1 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /kagami ./cmd/kagami

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libpcap0.8 ca-certificates libcap2-bin \
	&& rm -rf /var/lib/apt/lists/* && useradd --system --uid 65532 --no-create-home kagami
COPY --from=build /kagami /usr/local/bin/kagami
# Permitted, not effective: the process raises it when it opens a socket, and
# a replayer starts in a container without any capability as well.
RUN setcap cap_net_raw+p /usr/local/bin/kagami
USER kagami
ENTRYPOINT ["/usr/local/bin/kagami"]
