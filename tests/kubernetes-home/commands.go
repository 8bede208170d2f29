package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgeloom.dev/kubernetes-home/internal/cluster"
	"edgeloom.dev/kubernetes-home/internal/image"
)

// named adds the flag that says which cluster is meant.
func named(command *cobra.Command, name *string) *cobra.Command {
	command.Flags().StringVar(name, "name", cluster.DefaultName, "which cluster: 1 to 8 lowercase letters and digits")
	return command
}

func up() *cobra.Command {
	var name, network, programs, pause string
	var numNodes int
	command := &cobra.Command{
		Use:   "up",
		Short: "brings a cluster up, until its nodes are Ready; the last line is the kubeconfig's path",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			begin := time.Now()
			say := func(format string, arguments ...any) {
				seconds := time.Since(begin).Seconds()
				fmt.Fprintf(os.Stderr, "%5.1f s  %s\n", seconds, fmt.Sprintf(format, arguments...))
			}
			plan, err := planned(network)
			if err != nil {
				return err
			}
			c, err := cluster.New(name, plan, numNodes, programs)
			if err != nil {
				return err
			}
			if err := c.Up(command.Context(), say); err != nil {
				return fmt.Errorf("%w\n(`down` removes what has come up)", err)
			}
			if err := loadPause(command, c, pause); err != nil {
				return err
			}
			say("%d nodes are Ready", numNodes)
			fmt.Println(c.Kubeconfig())
			return nil
		},
	}
	flags := command.Flags()
	flags.IntVar(&numNodes, "nodes", 3, "how many nodes; 0 for the control plane alone")
	flags.StringVar(&network, "network", "", "first two numbers of its private /16, such as 10.123; one that nothing on this machine uses when empty")
	flags.StringVar(&programs, "programs", beside("kubernetes-programs"), "the binary with the programs of Kubernetes")
	flags.StringVar(&pause, "pause", beside("pause"), "the program of the pods' sandboxes")
	return named(command, &name)
}

// planned is the network that was asked for, or a free one.
func planned(network string) (cluster.Network, error) {
	if network == "" {
		return cluster.FreeNetwork()
	}
	return cluster.ParseNetwork(network)
}

// beside is the path of a file in the folder of this program.
func beside(file string) string {
	self, err := os.Executable()
	if err != nil {
		return file
	}
	return filepath.Join(filepath.Dir(self), file)
}

// loadPause makes the image of the sandbox, without which no pod starts, and loads it.
func loadPause(command *cobra.Command, c *cluster.Cluster, pause string) error {
	made, err := image.OfStatic(cluster.PauseImage, pause)
	if err != nil {
		return err
	}
	archive := filepath.Join(filepath.Dir(c.Kubeconfig()), "pause.tar")
	if _, err := made.Write(archive); err != nil {
		return err
	}
	return c.Load(command.Context(), archive)
}

func down() *cobra.Command {
	var name string
	return named(&cobra.Command{
		Use:   "down",
		Short: "ends a cluster and removes everything of it, also after a crash",
		Args:  cobra.NoArgs,
		RunE:  func(command *cobra.Command, _ []string) error { return cluster.Down(command.Context(), name) },
	}, &name)
}

func load() *cobra.Command {
	var name string
	return named(&cobra.Command{
		Use:   "load IMAGE.tar...",
		Short: "loads image archives on every node that runs",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, archives []string) error {
			c, err := cluster.Open(name)
			if err != nil {
				return err
			}
			return c.Load(command.Context(), archives...)
		},
	}, &name)
}

func kubectl() *cobra.Command {
	var name string
	command := named(&cobra.Command{
		Use:   "kubectl ARGUMENTS...",
		Short: "runs kubectl, or what EDGELOOM_KUBECTL names, as the cluster's administrator",
		RunE: func(command *cobra.Command, arguments []string) error {
			c, err := cluster.Open(name)
			if err != nil {
				return err
			}
			program := os.Getenv("EDGELOOM_KUBECTL")
			if program == "" {
				program = "kubectl"
			}
			client := exec.CommandContext(command.Context(), program, arguments...)
			client.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
			return attached(client)
		},
	}, &name)
	command.Flags().SetInterspersed(false)
	return command
}

func execute() *cobra.Command {
	var name string
	command := named(&cobra.Command{
		Use:   "exec NODE COMMAND...",
		Short: "runs a program on a node, with its files, network and processes",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(command *cobra.Command, arguments []string) error {
			node, err := find(name, arguments[0])
			if err != nil {
				return err
			}
			program, err := node.Command(command.Context(), arguments[1:]...)
			if err != nil {
				return err
			}
			return attached(program)
		},
	}, &name)
	command.Flags().SetInterspersed(false)
	return command
}

func kill() *cobra.Command {
	var name string
	return named(&cobra.Command{
		Use:   "kill NODE",
		Short: "ends a node at once, as a power cut does",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			node, err := find(name, arguments[0])
			if err != nil {
				return err
			}
			return node.Kill(command.Context())
		},
	}, &name)
}

func start() *cobra.Command {
	var name string
	return named(&cobra.Command{
		Use:   "start NODE|PROGRAM",
		Short: "boots a node that was killed, or starts a program of the control plane that was stopped, and waits until it is ready",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			c, err := cluster.Open(name)
			if err != nil {
				return err
			}
			if slices.Contains(cluster.ControlPlane, arguments[0]) {
				if err := c.StartProgram(arguments[0]); err != nil {
					return err
				}
				return c.WaitReady(command.Context())
			}
			node, err := c.Node(arguments[0])
			if err != nil {
				return err
			}
			begin := time.Now()
			started, err := node.Start()
			if err != nil {
				return err
			}
			if !started {
				begin = time.Time{}
			}
			return c.WaitNodes(command.Context(), begin, node)
		},
	}, &name)
}

func stop() *cobra.Command {
	var name string
	return named(&cobra.Command{
		Use:       "stop PROGRAM",
		Short:     "stops a program of the control plane: etcd, kube-apiserver, kube-controller-manager or kube-scheduler",
		Args:      cobra.ExactArgs(1),
		ValidArgs: cluster.ControlPlane,
		RunE: func(command *cobra.Command, arguments []string) error {
			c, err := cluster.Open(name)
			if err != nil {
				return err
			}
			return c.StopProgram(command.Context(), arguments[0])
		},
	}, &name)
}

func nodeInit() *cobra.Command {
	var name string
	return named(&cobra.Command{
		Use:    cluster.NodeInit + " NODE",
		Short:  "what a node runs as its first process",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			node, err := find(name, arguments[0])
			if err != nil {
				return err
			}
			return node.Init()
		},
	}, &name)
}

func find(name, node string) (cluster.Node, error) {
	c, err := cluster.Open(name)
	if err != nil {
		return cluster.Node{}, err
	}
	return c.Node(node)
}

func makeImage() *cobra.Command {
	var name, binary, output string
	var files []string
	command := &cobra.Command{
		Use:   "image --binary FILE --name NAME:TAG --output FILE.tar",
		Short: "makes an image archive of a binary and the libraries that it needs; needs no root",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			made, err := image.OfProgram(name, binary)
			if err != nil {
				return err
			}
			for _, file := range files {
				at, source, both := strings.Cut(file, "=")
				if !both {
					return fmt.Errorf("--file %q must be PATH=SOURCE", file)
				}
				if err := made.Files.AddFrom(at, 0o644, source); err != nil {
					return err
				}
			}
			size, err := made.Write(output)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s: %s, %.1f MB\n", output, name, float64(size)/1e6)
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&binary, "binary", "", "the program")
	flags.StringVar(&name, "name", "edgeloom.local/edgeloom:test", "the image's name and tag")
	flags.StringVar(&output, "output", "", "the archive to write")
	flags.StringArrayVar(&files, "file", nil, "PATH=SOURCE: a file that is added at a path of the image")
	for _, flag := range []string{"binary", "output"} {
		if err := command.MarkFlagRequired(flag); err != nil {
			panic(err) // The flag has just been defined.
		}
	}
	return command
}

// attached runs a program on this terminal.
func attached(program *exec.Cmd) error {
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	return program.Run()
}

// exitCode is that of the program which failed, or 1.
func exitCode(err error) int {
	var failed *exec.ExitError
	if errors.As(err, &failed) && failed.ExitCode() > 0 {
		return failed.ExitCode()
	}
	return 1
}
