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
	"github.com/canonical/metrics-k8s-proxy/proxy/server"
)

// scheme is the URL scheme of PORT. The health check uses it too.
const scheme = "http"

// serve serves requests until ctx ends, and then until the scrapes in flight are complete.
func (p *program) serve(ctx context.Context, s config.Serve) error {
	scrapes, err := listen(ctx, "PORT", s.Port)
	if err != nil {
		return err
	}
	most := boundConnections(s.MaxConnections, p.memoryLimit, maxOpenFiles(), p.logger)
	all := []served{p.newServed(p.server.Handler(), scrapes, most)}
	if s.MetricsHTTPPort != 0 {
		own, err := listen(ctx, "METRICS_HTTP_PORT", s.MetricsHTTPPort)
		if err != nil {
			_ = scrapes.Close()
			return err
		}
		all = append(all, p.newServed(p.server.OwnHandler(), own, max(most/8, 1)))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, one := range all {
		go func() {
			if err := one.connections.Serve(one.Server, one.listener); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("cannot serve on %s: %w", one.listener.Addr(), err))
			}
		}()
	}
	p.logger.Info("listening", "version", version, "port", s.Port, "metrics_http_port", s.MetricsHTTPPort)
	stopSources := p.runSources(ctx)
	<-ctx.Done()
	p.logger.Info("shutting down after the scrapes in flight")
	err = p.shutdown(all)
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

// served is a listener, what serves it, and the bound of its connections.
type served struct {
	*http.Server
	listener    net.Listener
	connections *server.Connections
}

func (p *program) newServed(h http.Handler, l net.Listener, connections int) served {
	return served{p.newHTTPServer(h), l, p.server.NewConnections(connections)}
}

func (p *program) newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug)}
}

// memoryPerConnection is the memory of the process for each connection. A connection takes up to
// a third of that, for the header of a request.
const memoryPerConnection = 512 << 10

// boundConnections returns the maximum number of connections to PORT, within the memory limit
// and the number of files that the process may open; 0 = no limit. A few more connections are
// accepted for probes, and an eighth more on METRICS_HTTP_PORT. Targets need connections too.
func boundConnections(configured int, memoryLimit int64, files uint64, logger *slog.Logger) int {
	bound := configured
	if memoryLimit > 0 {
		bound = int(min(int64(bound), memoryLimit/memoryPerConnection))
	}
	if files > 0 {
		bound = int(min(uint64(bound), files/6))
	}
	if bound < configured {
		logger.Info("fewer connections are accepted", "max_connections", max(bound, 1), "configured", configured, "memory_limit", memoryLimit, "open_files", files)
	}
	return max(bound, 1)
}

// shutdown waits for the scrapes in flight, whose deadlines bound the wait.
func (p *program) shutdown(servers []served) error {
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
