package scrape

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// TransportOptions configure NewTransport.
type TransportOptions struct {
	ConnectTimeout time.Duration // for the connection, and again for the TLS handshake
	TLS            *tls.Config   // for https targets; nil = the system's CAs. An empty ServerName is the host of the URL

	// Dial opens the connections, also those that TLS is used on; nil = TCP to the address.
	// It is for example for a unix socket.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewTransport creates the transport of a profile. It is used without an http.Client, so
// redirects, which could lead to any address, are not followed.
func NewTransport(opts TransportOptions) *http.Transport {
	dial := dial(opts.Dial)
	if dial == nil {
		dial = (&net.Dialer{Timeout: opts.ConnectTimeout}).DialContext
	}
	return &http.Transport{
		DialContext:            dial,
		DialTLSContext:         tlsDialer(dial, opts.TLS, opts.ConnectTimeout),
		DisableCompression:     true, // decompression costs more than the merge; decode bounds it
		MaxIdleConnsPerHost:    2,    // two Prometheus servers may scrape at the same time
		IdleConnTimeout:        5 * time.Minute,
		ReadBufferSize:         1 << 10, // for headers only: reads of bodies bypass the buffer
		WriteBufferSize:        1 << 10,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// dial opens a connection, as net.Dialer.DialContext does.
type dial func(ctx context.Context, network, address string) (net.Conn, error)

// tlsDialer returns a dial with a TLS handshake, whose errors are of type *handshakeError.
// The handshake has its own timeout, because the transport continues a dial after the
// request has ended.
func tlsDialer(plain dial, config *tls.Config, timeout time.Duration) dial {
	if config == nil {
		config = &tls.Config{}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := plain(ctx, network, address)
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		ofTarget := config.Clone()
		ofTarget.ServerName = cmp.Or(ofTarget.ServerName, host)
		ofTarget.MinVersion = max(ofTarget.MinVersion, tls.VersionTLS12)
		secured := tls.Client(conn, ofTarget)
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, &handshakeError{err}
		}
		return secured, nil
	}
}
