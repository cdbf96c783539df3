//go:build tools

// Package pebble126 pins the Pebble that Juju 3.6 and 4.0 bring along.
package pebble126

import _ "github.com/canonical/pebble/cmd/pebble" // the daemon
