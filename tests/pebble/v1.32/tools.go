//go:build tools

// Package v132 pins the Pebble of the rock, with the dependencies that it names itself.
package v132

import _ "github.com/canonical/pebble/cmd/pebble" // the daemon
