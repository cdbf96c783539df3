//go:build tools

// Package pebble132 pins the Pebble of the rock, with the dependencies that it names itself.
package pebble132

import _ "github.com/canonical/pebble/cmd/pebble" // the daemon
