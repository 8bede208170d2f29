package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// aProgram is dynamic and on every machine that has a shell.
const aProgram = "/bin/sh"

func TestTheSameFilesGiveTheSameBytes(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "program")
	content, err := os.ReadFile(aProgram)
	if err != nil {
		t.Fatal(err)
	}
	var archives [][]byte
	for _, age := range []time.Duration{0, time.Hour} {
		if err := os.WriteFile(binary, content, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(binary, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
		archives = append(archives, archiveOf(t, binary))
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the archive depends on something else than the content of the files")
	}
}

func TestTheProgramFindsEveryLibraryInTheImage(t *testing.T) {
	image, err := OfProgram("example.test/program:1", aProgram)
	if err != nil {
		t.Fatal(err)
	}
	file, err := elf.Open(aProgram)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	needed, err := file.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	if len(needed) == 0 {
		t.Fatalf("%s needs no library: this test would judge nothing", aProgram)
	}
	var names []string
	for at := range image.Files.entries {
		names = append(names, path.Base(at))
	}
	for _, library := range needed {
		if !slices.Contains(names, library) {
			t.Errorf("%s is not in the image", library)
		}
	}
}

func TestTheArchiveNamesWhatItHolds(t *testing.T) {
	parts := unpack(t, archiveOf(t, aProgram))
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
		} `json:"config"`
		RootFS struct {
			Layers []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(parts[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := parts[manifest[0].Layers[0]]
	if want := []string{"sha256:" + digest(layer)}; !slices.Equal(config.RootFS.Layers, want) {
		t.Errorf("the configuration names the layers %v, the archive holds %v", config.RootFS.Layers, want)
	}
	if config.Config.User != "65532:65532" {
		t.Errorf("the program runs as %s", config.Config.User)
	}
	if _, there := unpack(t, layer)[config.Config.Entrypoint[0][1:]]; !there {
		t.Errorf("there is no %s in the layer", config.Config.Entrypoint[0])
	}
}

func TestAFolderComesBeforeWhatIsInIt(t *testing.T) {
	var layer bytes.Buffer
	files := NewFiles()
	files.Add("/a/b/c", 0o644, []byte("x"))
	files.Add("/a.b", 0o644, nil)
	if err := files.write(&layer); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{".": true}
	reader := tar.NewReader(&layer)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if at := path.Clean(header.Name); !seen[path.Dir(at)] {
			t.Errorf("%s comes before its folder", at)
		}
		seen[path.Clean(header.Name)] = true
	}
	if want := []string{".", "a", "a.b", "a/b", "a/b/c"}; !slices.Equal(slices.Sorted(maps.Keys(seen)), want) {
		t.Errorf("the layer holds %v, want %v", seen, want)
	}
}

func TestALibraryThatIsMissingIsNamed(t *testing.T) {
	_, err := parse("\tlibgone.so.3 => not found\n")
	if err == nil || err.Error() != "the library libgone.so.3 is not found" {
		t.Errorf("the error is %v", err)
	}
}

func archiveOf(t *testing.T, binary string) []byte {
	t.Helper()
	image, err := OfProgram("example.test/program:1", binary)
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "image.tar")
	size, err := image.Write(target)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(content)) != size {
		t.Errorf("the archive has %d bytes, Write says %d", len(content), size)
	}
	return content
}

func unpack(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	reader := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = content
	}
}
