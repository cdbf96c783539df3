//go:build tools

// Package v126 pins the Pebble that Juju 3.6 and 4.0 bring along.
package v126

import _ "github.com/canonical/pebble/cmd/pebble" // the daemon
