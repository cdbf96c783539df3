package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
)

// scheme is that of PORT. The health check uses it, too.
const scheme = "http"

// serve answers until ctx ends, and then until the scrapes in flight are answered.
func (p *program) serve(ctx context.Context, s config.Serve) error {
	scrapes, err := listen(ctx, "PORT", s.Port)
	if err != nil {
		return err
	}
	servers := []*http.Server{p.newHTTPServer(p.server.Handler())}
	listeners := []net.Listener{scrapes}
	if s.MetricsHTTPPort != 0 {
		own, err := listen(ctx, "METRICS_HTTP_PORT", s.MetricsHTTPPort)
		if err != nil {
			_ = scrapes.Close()
			return err
		}
		servers = append(servers, p.newHTTPServer(p.server.OwnHandler()))
		listeners = append(listeners, own)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for i, srv := range servers {
		go func() {
			if err := srv.Serve(listeners[i]); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("cannot serve on %s: %w", listeners[i].Addr(), err))
			}
		}()
	}
	p.logger.Info("metrics-proxy listens", "version", version, "port", s.Port, "metrics_http_port", s.MetricsHTTPPort)
	unfollow := p.follow(ctx)
	<-ctx.Done()
	p.logger.Info("stopping when the scrapes in flight are answered")
	err = p.shutdown(servers)
	unfollow()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// follow runs the sources until ctx ends or end is called, which waits for it, but not
// for long: nothing depends on it, and a credential plugin of the kubeconfig that hangs
// cannot be told to end.
func (p *program) follow(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		p.sources.Run(ctx)
		close(ended)
	}()
	return func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (p *program) newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug),
	}
}

// shutdown waits for the scrapes in flight, which their deadlines bound.
func (p *program) shutdown(servers []*http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.scrapeTimeout+15*time.Second)
	defer cancel()
	var errs []error
	for _, srv := range servers {
		if err := srv.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("cannot finish the scrapes in flight: %w", err))
		}
	}
	return errors.Join(errs...)
}

func listen(ctx context.Context, variable string, port int) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return nil, fmt.Errorf("%s is %d: cannot listen there, want a free port: %w", variable, port, err)
	}
	return l, nil
}
