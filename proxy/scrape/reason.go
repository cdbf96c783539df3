package scrape

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

type tooLargeError int64

func (e tooLargeError) Error() string {
	return fmt.Sprintf("the body is over BODY_SIZE_LIMIT, which is %d bytes", int64(e))
}

type statusError string

func (e statusError) Error() string {
	return fmt.Sprintf("the target answered %.80q, want status 200", string(e))
}

type encodingError struct{ error }

func (e encodingError) Unwrap() error { return e.error }

// translateError is that of a body that Profile.Translate cannot use.
type translateError struct{ error }

func (e translateError) Unwrap() error { return e.error }

// deadlineError is any error that came past the deadline of the scrape or the target.
type deadlineError struct{ error }

func (e deadlineError) Unwrap() error { return e.error }

type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// notAskedError is that of a target for which no place became free. It is how many places
// there are.
type notAskedError int

func (e notAskedError) Error() string {
	return fmt.Sprintf("the target was never asked: MAX_IN_FLIGHT is %d, and as many others were being asked until then", int(e))
}

// WasAsked says whether a request to the target was begun.
func (r Result) WasAsked() bool {
	var notAsked notAskedError
	return r.Target.Problem == nil && !errors.As(r.Outcome.Err, &notAsked)
}

// late returns err, or if that says only that ctx has ended, what had not come by then.
func late(ctx context.Context, err error, what string) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return errors.New("the deadline passed before " + what)
	}
	return err
}

// shortError keeps what a target sent from filling the log: net/http quotes lines of
// any length.
type shortError struct{ error }

func (e shortError) Error() string { return fmt.Sprintf("%.500s", e.error.Error()) }

func (e shortError) Unwrap() error { return e.error }

// reasonOf puts an error of ask into the closed list. Past the deadline every
// error is a timeout, whatever it says, unless the answer itself was at fault.
func reasonOf(err error) target.Reason {
	var (
		notAsked    notAskedError
		deadline    deadlineError
		translate   translateError
		status      statusError
		contentType exposition.ContentTypeError
		tooLarge    tooLargeError
		encoding    encodingError
		syntax      *exposition.SyntaxError
		handshake   *handshakeError
		network     *net.OpError
	)
	switch {
	case err == nil:
		return target.OK
	case errors.As(err, &status):
		return target.Status
	case errors.As(err, &contentType):
		return target.ContentType
	case errors.Is(err, errMemory):
		return target.Memory
	case errors.As(err, &encoding):
		return target.Encoding
	case errors.As(err, &tooLarge):
		return target.TooLarge
	case errors.Is(err, exposition.ErrTooManySamples):
		return target.TooManySamples
	case errors.As(err, &syntax):
		return target.Parse
	case errors.As(err, &notAsked), errors.As(err, &deadline):
		return target.Timeout
	case errors.As(err, &translate):
		return target.Parse
	case errors.As(err, &handshake):
		return target.TLS
	case errors.As(err, &network) && network.Op == "dial":
		return target.Connect
	default:
		return target.Incomplete
	}
}
