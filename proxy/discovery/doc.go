// Package discovery knows which pods are to be asked. It follows the pods that
// match a selector, by a watch or, where that is forbidden, by listing them again
// and again, and makes targets of them by a Dialect. Of a pod it keeps its targets,
// never the object.
//
// client-go is used by its small parts, a REST client and a reflector: informers would
// keep whole objects.
package discovery
