package main

import (
	"errors"
	"fmt"
)

// What a mistake of the user's wraps.
var (
	errUsage  = errors.New("usage")
	errNotYet = errors.New("not supported yet")
)

// usageError is a mistake in what the user typed or set. Its text is complete.
type usageError struct{ err error }

func (e usageError) Error() string   { return e.err.Error() }
func (e usageError) Unwrap() []error { return []error{errUsage, e.err} }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// notYetf says what a later version will do.
func notYetf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNotYet, fmt.Sprintf(format, args...))
}
