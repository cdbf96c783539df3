// Command spreadrun runs the tasks of spread.yaml on this machine, where there is no spread:
// prepare, execute and restore of the project, its suites and tasks, in spread's order, each
// under bash -eu, with spread's variables.
//
//	go run ./cmd/spreadrun                            all tasks
//	go run ./cmd/spreadrun tests/suites/spread/rock/starts   one
//	go run ./cmd/spreadrun tests/suites/spread/rock/         those of a suite
//
// Restore runs whatever failed before it. As in spread, a task that fails ends nothing but
// itself, a suite's prepare ends the suite, and a restore ends everything, for nobody knows
// what it left behind.
//
// Different from spread: it is this machine that is prepared and restored, with the variables
// and PATH of whoever runs it; tasks run in the order of their names; and a suite's prepare
// may call SKIP REASON where this machine cannot run the suite. What was skipped is told at
// the end; with -no-skip it is a failure.
//
// The exit code is 0 if no task failed, 1 if one did, and 2 if the tasks cannot be read.
package main
