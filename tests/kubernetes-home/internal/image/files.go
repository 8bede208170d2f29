package image

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
)

// Files are the files of an image, by their paths without the first slash. Folders above them come by themselves.
type Files struct {
	entries map[string]entry
}

type entry struct {
	mode int64
	// owner of it, user and group.
	owner int
	// content of a file; folders have none.
	content []byte
}

const folder = int64(0o40000)

// NewFiles returns no files.
func NewFiles() *Files { return &Files{entries: map[string]entry{}} }

// Add puts content at a path of the image.
func (f *Files) Add(at string, mode int64, content []byte) {
	at = clean(at)
	f.addParents(at)
	f.entries[at] = entry{mode: mode, content: content}
}

// AddFrom copies a file of this machine, following links.
func (f *Files) AddFrom(at string, mode int64, source string) error {
	content, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	f.Add(at, mode, content)
	return nil
}

// AddFolder puts an empty folder at a path of the image.
func (f *Files) AddFolder(at string, mode int64, owner int) {
	at = clean(at)
	f.addParents(at)
	f.entries[at] = entry{mode: folder | mode, owner: owner}
}

func (f *Files) addParents(at string) {
	for parent := path.Dir(at); parent != "."; parent = path.Dir(parent) {
		if _, known := f.entries[parent]; !known {
			f.entries[parent] = entry{mode: folder | 0o755}
		}
	}
}

func clean(at string) string { return path.Clean("/" + at)[1:] }

// write writes the files as one layer, sorted by path, so that a folder comes before what is in it.
func (f *Files) write(into io.Writer) error {
	layer := tar.NewWriter(into)
	for _, at := range slices.Sorted(maps.Keys(f.entries)) {
		if err := f.entries[at].write(layer, at); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return layer.Close()
}

func (e entry) write(layer *tar.Writer, at string) error {
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: at, Size: int64(len(e.content)), Mode: e.mode &^ folder,
		Uid: e.owner, Gid: e.owner, ModTime: epoch, Format: tar.FormatPAX,
	}
	if e.mode&folder != 0 {
		header.Typeflag, header.Name = tar.TypeDir, at+"/"
	}
	if err := layer.WriteHeader(header); err != nil {
		return err
	}
	_, err := layer.Write(e.content)
	return err
}
