//go:build !unix

package main

// maxOpenFiles returns how many files the process may open, or 0 if that is unknown.
func maxOpenFiles() uint64 { return 0 }
