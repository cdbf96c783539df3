// Package exposition merges the answers of many targets into one valid
// Prometheus exposition.
//
// [Negotiate] chooses the format of an answer: text, OpenMetrics or protobuf.
// [Read] takes one target's answer, in any of them, checks every byte of it by the
// rules of Prometheus's own parser (model/textparse) and indexes it by family. A body
// that breaks a rule is refused as a whole, as Prometheus would refuse it.
// [Merge] decides, family by family, how the bodies stand together, and
// [Merged.WriteTo] writes them: one HELP and one TYPE a family, each body's
// lines of a family in one block and in their original order, with the labels
// of the body's target put on every line as it is copied.
//
// Bytes go in and bytes come out: no object is made per sample. A line that is
// already in the canonical form
//
//	name{label="value",label="value"} value timestamp
//
// is kept as an offset into the body and copied once. Every other spelling that
// the format allows (blanks, quoted names, trailing commas, a raw line feed in a
// label value), every line whose labels collide with the target's, and every line of
// a body in another format than the answer's, is rewritten into that form while it is
// read, so that merging knows one form only. In an answer in protobuf a Metric message
// takes the place of a line, and the target's labels are written behind it.
//
// The package knows nothing of HTTP or Kubernetes and imports nothing of this
// project.
package exposition
