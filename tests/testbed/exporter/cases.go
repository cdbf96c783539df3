package exporter

import "net/http"

// A Case is one kind of broken exporter, with a name for tests and pods.
type Case struct {
	Name    string
	Handler http.Handler
}

// Broken returns every kind of broken exporter. A pod without a listener is a further case.
// The redirect refers to /healthy on the same server.
func Broken() []Case {
	return []Case{
		{"hang", Hang()},
		{"stall", Stall()},
		{"reset", Reset()},
		{"reset-in-body", ResetInBody()},
		{"status-500", Status(http.StatusInternalServerError)},
		{"redirect", Redirect("/healthy")},
		{"html", HTML()},
		{"truncated", Truncated()},
		{"truncated-chunked", TruncatedChunked()},
		{"drip", Drip()},
		{"zip-bomb", ZipBomb()},
		{"endless", Endless()},
		{"garbage", Garbage()},
		{"blank-content-type", BlankContentType()},
	}
}
