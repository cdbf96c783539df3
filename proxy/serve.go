package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
)

// scheme is the URL scheme of PORT. The health check uses it too.
const scheme = "http"

// serve serves requests until ctx ends, and then until the scrapes in flight are complete.
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
	p.logger.Info("listening", "version", version, "port", s.Port, "metrics_http_port", s.MetricsHTTPPort)
	stopSources := p.runSources(ctx)
	<-ctx.Done()
	p.logger.Info("shutting down after the scrapes in flight")
	err = p.shutdown(servers)
	stopSources()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// surviveSignals makes the process go on when its terminal is closed (SIGHUP), and when nobody
// reads its stderr any more (SIGPIPE). Programs that it starts are not affected, as they would
// be by signal.Ignore.
func surviveSignals() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
}

// runSources runs the sources until ctx ends or stop is called. stop waits up to 500 ms for
// them to return. It does not wait longer, because nothing depends on it, and a credential
// plugin of the kubeconfig that hangs cannot be canceled.
func (p *program) runSources(ctx context.Context) (stop func()) {
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

// shutdown waits for the scrapes in flight, whose deadlines bound the wait.
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
		return nil, fmt.Errorf("%s is %d: cannot listen there, expected a free port: %w", variable, port, err)
	}
	return l, nil
}
