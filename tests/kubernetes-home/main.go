// Command kubernetes-home brings a real Kubernetes cluster up on one machine, for tests and to play with, and makes container
// images from binaries.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(exitCode(err))
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "kubernetes-home",
		Short:         "A real Kubernetes cluster on one machine, from namespaces; needs root",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(up(), down(), load(), kubectl(), execute(), kill(), start(), stop(), nodeInit(), makeImage())
	return root
}
