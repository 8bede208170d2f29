// Package image writes container images without a container engine: archives that `docker load`, `ctr images import` and
// `kind load image-archive` read. The same files give the same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// User is the user and the group of an image's process: the number that "nonroot" has in many images.
const User = 65532

// epoch is the time of everything in an image, so that an image depends on nothing but its files.
var epoch = time.Unix(0, 0).UTC()

// Image is what an image says and holds.
type Image struct {
	// Name with its tag, such as "edgeloom.local/edgeloom:test".
	Name string
	// Entrypoint is the program, by its path in the image.
	Entrypoint []string
	// Environment holds "NAME=value".
	Environment []string
	// Labels are the image's annotations.
	Labels map[string]string
	// Files are the image's one layer.
	Files *Files
}

// Write writes the image as an archive. The file appears whole or not at all. It returns the archive's size in bytes.
func (i Image) Write(path string) (int64, error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".image-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if err := i.archive(file); err != nil {
		return 0, fmt.Errorf("write the image %s: %w", i.Name, err)
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	if err := file.Chmod(0o644); err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(file.Name(), path)
}

// archive writes a layer, a configuration and a manifest that names both.
func (i Image) archive(into io.Writer) error {
	var layer bytes.Buffer
	if err := i.Files.write(&layer); err != nil {
		return err
	}
	config, err := json.Marshal(i.configuration(digest(layer.Bytes())))
	if err != nil {
		return err
	}
	configName, layerName := digest(config)+".json", digest(layer.Bytes())+"/layer.tar"
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": configName, "RepoTags": []string{i.Name}, "Layers": []string{layerName},
	}})
	if err != nil {
		return err
	}
	archive := tar.NewWriter(into)
	for _, part := range []struct {
		name    string
		content []byte
	}{{layerName, layer.Bytes()}, {configName, config}, {"manifest.json", manifest}} {
		header := &tar.Header{Name: part.name, Mode: 0o644, Size: int64(len(part.content)), ModTime: epoch, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(part.content); err != nil {
			return err
		}
	}
	return archive.Close()
}

func (i Image) configuration(layer string) any {
	return map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"created":      epoch.Format(time.RFC3339),
		"config": map[string]any{
			"User":       fmt.Sprintf("%d:%d", User, User),
			"Entrypoint": i.Entrypoint,
			"Env":        i.Environment,
			"Labels":     i.Labels,
			"WorkingDir": "/",
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layer}},
		"history": []any{map[string]any{"created": epoch.Format(time.RFC3339), "created_by": "kubernetes-home image"}},
	}
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
