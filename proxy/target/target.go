// Package target defines what is scraped, how it is scraped, and the result. It imports no
// other package of this project.
package target

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Target is one endpoint to scrape. Immutable.
type Target struct {
	ID          string   // unique among all targets, and stable: state that is kept between scrapes is keyed by it
	Namespace   string   // of the pod
	Pod         string   // name of the pod
	Address     string   // IP address of the pod
	Owner       string   // holder of Address, such as a pod UID; empty if Address is never reused by another target
	URL         string   // what is scraped; empty if Problem is set
	Labels      []Label  // added to each sample, in this order; unique among all targets
	Terminating bool     // the pod is being deleted, so a failed scrape of it is expected and not reported
	Shard       int      // index of the proxy that scrapes it, among those that share the pods
	Problem     *Problem // why it cannot be scraped; nil = it can
	Profile     *Profile // nil = the defaults of the scrape client
}

// Profile overrides how a target is scraped. A zero field means the default of the scrape
// client. Several targets may share a profile. Immutable.
type Profile struct {
	Transport     http.RoundTripper // must not follow redirects
	Timeout       time.Duration     // from the request to the complete response; the deadline of the scrape applies as well
	BodySizeLimit int64             // bytes; applies to the body as received, decoded and translated
	SampleLimit   int               // maximum number of samples
	Header        http.Header       // sent in addition, or instead of the default values of the same headers

	// Translate converts a decoded body to an exposition in the text format 0.0.4. The body
	// and the result are streams, each of at most BodySizeLimit bytes: MEMORY_LIMIT does not
	// count what Translate keeps of them. It must return when ctx ends. If the result is an
	// io.Closer, it is closed, possibly before its end. An error that Translate or the
	// result returns is a Parse failure, unless reading the body failed.
	Translate func(ctx context.Context, contentType string, body io.Reader) (io.Reader, error)
}

// Label is one label of a target. Name matches [a-zA-Z_][a-zA-Z0-9_]*; an empty
// Value is the same as no label.
type Label struct{ Name, Value string }

// Problem is why a target cannot be scraped at all. Such a target is down.
type Problem struct {
	Reason Reason
	Err    error
}

// Outcome is the result of one scrape of a target.
type Outcome struct {
	Reason   Reason        // OK, or why the target is down
	Err      error         // nil if the target is up
	Duration time.Duration // from the request until the body is validated
	Bytes    int64         // of the decoded body that were read
	Samples  int           // of the target in the merged exposition
}

// Reason classifies the outcome of a scrape. It is a label value of the proxy's metrics.
type Reason string

// The complete list of reasons: the proxy's own metrics have one series for each.
const (
	OK             Reason = "ok"
	Timeout        Reason = "timeout"          // no complete response by the deadline, or not scraped because of MAX_IN_FLIGHT
	Connect        Reason = "connect"          // no connection, or none within CONNECT_TIMEOUT
	TLS            Reason = "tls"              // the TLS handshake failed
	Incomplete     Reason = "incomplete"       // incomplete HTTP response: the connection ended early, or it is not HTTP
	Status         Reason = "status"           // a status other than 200; redirects are not followed
	ContentType    Reason = "content_type"     // a Content-Type that Prometheus does not parse, or none
	Encoding       Reason = "encoding"         // an unsupported Content-Encoding, or corrupt encoded data
	TooLarge       Reason = "too_large"        // the body exceeds BODY_SIZE_LIMIT
	TooManySamples Reason = "too_many_samples" // more than SAMPLE_LIMIT samples, or too many metric families
	Parse          Reason = "parse"            // not a valid exposition
	Memory         Reason = "memory"           // dropped to stay within MEMORY_LIMIT
	Annotation     Reason = "annotation"       // an annotation of the pod is malformed
	Identity       Reason = "identity"         // another target has the same labels
	Reserved       Reason = "reserved"         // the address is reserved: see CheckAddress
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{
		OK, Timeout, Connect, TLS, Incomplete, Status, ContentType, Encoding, TooLarge, TooManySamples, Parse, Memory, Annotation, Identity, Reserved,
	}
}
