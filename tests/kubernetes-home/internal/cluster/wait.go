package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// pollInterval is how often a condition is looked at.
const pollInterval = 100 * time.Millisecond

// logTail is how much of a log an error carries, in bytes.
const logTail = 3000

// wait looks at a condition until it holds, until it fails for good, or until the context ends; the error then says what was
// waited for.
func wait(ctx context.Context, what string, holds func() (bool, error)) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		done, err := holds()
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, ctx.Err())
		case <-ticker.C:
		}
	}
}

// withLog adds the end of a log to an error.
func withLog(err error, path string) error {
	if err == nil {
		return nil
	}
	text, readError := os.ReadFile(path)
	if readError != nil {
		return errors.Join(err, readError)
	}
	if len(text) > logTail {
		text = text[len(text)-logTail:]
		if _, whole, found := bytes.Cut(text, []byte("\n")); found {
			text = whole
		}
	}
	return fmt.Errorf("%w\n--- the end of %s:\n%s", err, path, text)
}
