// Package discovery discovers the pods to scrape. It lists and watches the pods that match
// a selector, or lists them periodically if it is not allowed to watch them. A Dialect
// derives the targets of each pod. Only the targets are kept, not the pod objects.
//
// It uses only the REST client and the reflector of client-go, because informers would
// keep the whole objects.
package discovery
