package discovery

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/canonical/metrics-k8s-proxy/proxy/kubeapi"
)

// fakeAPI is an API server that serves pods over in-memory connections, so that it works in
// a synctest bubble.
type fakeAPI struct {
	supportsWatchList bool // it can start a watch with a list, as API servers from 1.34 do

	mu                 sync.Mutex
	version            int // grows with each change
	pods               map[string]*corev1.Pod
	watches            map[chan metav1.WatchEvent]bool
	requests           []*url.URL
	listForbidden      bool
	watchForbidden     bool
	watchListForbidden bool
	token              string // required bearer token; empty = none
	isDown             bool
	whenDown           func(dials int) error // error of a connection; nil = refused
	dials              int                   // connection attempts while it was down
	hangs              bool                  // it never responds
	isGateway          bool                  // it responds to every request with {}
	closesWatches      bool                  // it closes the connection of a watch without a response
	conns              []net.Conn

	accepted  chan net.Conn
	transport *http.Transport // connects to the fake
}

// start starts a Pods that watches the fake, and stops both when the test ends. It returns
// the log.
func (f *fakeAPI) start(t *testing.T, change func(*Options)) (*Pods, *logged) {
	t.Helper()
	f.version = 1
	f.pods, f.watches, f.accepted = map[string]*corev1.Pod{}, map[chan metav1.WatchEvent]bool{}, make(chan net.Conn)
	srv := &http.Server{Handler: f}
	go func() { _ = srv.Serve(f) }()
	f.transport = &http.Transport{DialContext: f.dial}
	log := new(logged)
	p := newPods(t, func(o *Options) {
		o.Connect = connect(&rest.Config{Host: "http://api", Transport: f.transport})
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
		if change != nil {
			change(o)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		p.Run(ctx)
		close(stopped)
	}()
	t.Cleanup(func() {
		start := time.Now()
		cancel()
		<-stopped
		if took := time.Since(start); took > 0 {
			t.Errorf("Run took %s to end", took)
		}
		if lines := log.with("context canceled"); len(lines) > 0 {
			t.Errorf("the shutdown was logged as a failure: %q", lines)
		}
		f.transport.CloseIdleConnections()
		_ = srv.Close()
	})
	synctest.Wait()
	return p, log
}

// connect returns an Options.Connect for a configuration.
func connect(config *rest.Config) func() (*kubeapi.Client, error) {
	return func() (*kubeapi.Client, error) { return kubeapi.NewClient(config, kubeapi.Core()) }
}

func (f *fakeAPI) dial(context.Context, string, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.isDown {
		f.dials++
		if f.whenDown != nil {
			return nil, f.whenDown(f.dials)
		}
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	f.conns = append(f.conns, server)
	go func() { f.accepted <- server }()
	return client, nil
}

// Accept, Addr and Close implement net.Listener.

func (f *fakeAPI) Accept() (net.Conn, error) {
	if conn, ok := <-f.accepted; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (f *fakeAPI) Addr() net.Addr { return &net.UnixAddr{} }

func (f *fakeAPI) Close() error {
	close(f.accepted)
	return nil
}

// goDown closes all connections and accepts no new ones.
func (f *fakeAPI) goDown() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.isDown = true
	for _, conn := range f.conns {
		_ = conn.Close()
	}
	f.conns = nil
}

// set changes the fake while it serves no request.
func (f *fakeAPI) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// put adds or updates pods, remove deletes one. When they return, all watches have processed
// the events.
func (f *fakeAPI) put(pods ...*corev1.Pod) {
	for _, pod := range pods {
		f.set(func() {
			event := "ADDED"
			if f.pods[pod.Name] != nil {
				event = "MODIFIED"
			}
			f.pods[pod.Name] = f.stamped(pod)
			f.send(event, f.pods[pod.Name])
		})
	}
	synctest.Wait()
}

func (f *fakeAPI) remove(pod *corev1.Pod) {
	f.set(func() {
		delete(f.pods, pod.Name)
		f.send("DELETED", f.stamped(pod))
	})
	synctest.Wait()
}

func (f *fakeAPI) stamped(pod *corev1.Pod) *corev1.Pod {
	f.version++
	pod = pod.DeepCopy()
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	pod.ResourceVersion = fmt.Sprint(f.version)
	return pod
}

func (f *fakeAPI) send(event string, pod *corev1.Pod) {
	for watch := range f.watches {
		watch <- metav1.WatchEvent{Type: event, Object: runtime.RawExtension{Object: pod}}
	}
}

// expire ends all watches, as an API server does if their resource versions have expired.
func (f *fakeAPI) expire() {
	f.set(func() {
		for watch := range f.watches {
			watch <- expired()
		}
	})
	synctest.Wait()
}

func expired() metav1.WatchEvent {
	return metav1.WatchEvent{Type: "ERROR", Object: runtime.RawExtension{Object: &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old resource version",
	}}}
}

// count returns the number of requests of one kind: list, watch, or watchlist, which is a
// watch that starts with a list.
func (f *fakeAPI) count(kind string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, u := range f.requests {
		if kindOf(u) == kind {
			n++
		}
	}
	return n
}

func kindOf(u *url.URL) string {
	switch q := u.Query(); {
	case q.Get("sendInitialEvents") == "true":
		return "watchlist"
	case q.Get("watch") == "true" || q.Get("watch") == "1":
		return "watch"
	default:
		return "list"
	}
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.URL)
	kind := kindOf(r.URL)
	verb := "watch"
	if kind == "list" {
		verb = "list"
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case f.hangs:
		f.mu.Unlock()
		<-r.Context().Done()
		return
	case f.isGateway:
		_, _ = io.WriteString(w, "{}")
	case kind != "list" && f.closesWatches:
		f.mu.Unlock()
		panic(http.ErrAbortHandler)
	case f.token != "" && r.Header.Get("Authorization") != "Bearer "+f.token:
		refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	case kind == "list" && f.listForbidden, kind != "list" && f.watchForbidden, kind == "watchlist" && f.watchListForbidden:
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, "pods is forbidden: the user cannot "+verb+" resource pods")
	case kind == "watchlist" && !f.supportsWatchList:
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
	case kind == "list":
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprint(f.version)}}
		f.fill(&list, r.URL.Query())
		_ = json.NewEncoder(w).Encode(list)
	default:
		f.serveWatch(w, r, kind) // unlocks
		return
	}
	f.mu.Unlock()
}

// fill adds the pods of the page that a request is for.
func (f *fakeAPI) fill(list *corev1.PodList, query url.Values) {
	names := slices.Sorted(maps.Keys(f.pods))
	first, _ := strconv.Atoi(query.Get("continue"))
	last := len(names)
	if limit, err := strconv.Atoi(query.Get("limit")); err == nil && first+limit < last {
		last = first + limit
		list.Continue = fmt.Sprint(last)
	}
	for _, name := range names[first:last] {
		list.Items = append(list.Items, *f.pods[name])
	}
}

func (f *fakeAPI) serveWatch(w http.ResponseWriter, r *http.Request, kind string) {
	events := make(chan metav1.WatchEvent, 100)
	if kind == "watchlist" {
		for _, pod := range f.pods {
			events <- metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Object: pod}}
		}
		end := f.stamped(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}})
		events <- metav1.WatchEvent{Type: "BOOKMARK", Object: runtime.RawExtension{Object: end}}
	} else if r.URL.Query().Get("resourceVersion") != fmt.Sprint(f.version) {
		events <- expired()
	}
	f.watches[events] = true
	f.mu.Unlock()
	defer f.set(func() { delete(f.watches, events) })
	w.WriteHeader(http.StatusOK)
	for {
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case event := <-events:
			_ = json.NewEncoder(w).Encode(event)
		case <-r.Context().Done():
			return
		}
	}
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(code), Reason: reason, Message: message,
	})
}

// logged collects log lines. Safe for concurrent use.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// with returns the lines that contain all of the texts.
func (l *logged) with(texts ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			found = append(found, line)
		}
	}
	return found
}

// counterOf returns the value of one counter series in a registry.
func counterOf(t *testing.T, r *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.Gather()
	must(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if family.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no series %s %q", name, labels)
	return 0
}
