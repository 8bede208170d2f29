package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// certificates is the bundle of authorities of Debian's package ca-certificates.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// ProgramFolder is where an image's program lies.
const ProgramFolder = "/usr/bin"

// accounts lets programs that ask find a name for the user that they run as.
const accounts = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"

// OfProgram is an image of one program: without its debugging information, with the shared libraries that it needs and the
// certificates of the public authorities. There is no shell in it.
func OfProgram(name, binary string) (*Image, error) {
	files := NewFiles()
	at, err := files.addProgram(binary)
	if err != nil {
		return nil, err
	}
	if err := files.AddFrom(certificates, 0o644, certificates); err != nil {
		return nil, fmt.Errorf("install the package ca-certificates: %w", err)
	}
	files.Add("/etc/passwd", 0o644, []byte(accounts))
	files.Add("/etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n"))
	files.AddFolder("/tmp", 0o1777, 0)
	files.AddFolder("/var/lib/edgeloom", 0o755, User)
	return &Image{
		Name:        name,
		Entrypoint:  []string{at},
		Environment: []string{"PATH=" + ProgramFolder, "SSL_CERT_FILE=" + certificates},
		Labels:      map[string]string{"org.opencontainers.image.title": filepath.Base(binary)},
		Files:       files,
	}, nil
}

// addProgram puts a program in its folder and its libraries where the loader looks for them. It returns the program's path.
func (f *Files) addProgram(binary string) (string, error) {
	stripped, err := strip(binary)
	if err != nil {
		return "", err
	}
	at := path.Join(ProgramFolder, filepath.Base(binary))
	f.Add(at, 0o755, stripped)
	libraries, err := libraries(binary)
	if err != nil {
		return "", err
	}
	for library, source := range libraries {
		if err := f.AddFrom(library, 0o755, source); err != nil {
			return "", err
		}
	}
	return at, nil
}

// OfStatic is an image of a static program and nothing else.
func OfStatic(name, binary string) (*Image, error) {
	files := NewFiles()
	at := "/" + filepath.Base(binary)
	if err := files.AddFrom(at, 0o755, binary); err != nil {
		return nil, err
	}
	return &Image{Name: name, Entrypoint: []string{at}, Files: files}, nil
}

// strip returns a program without symbols and debugging information.
func strip(binary string) ([]byte, error) {
	folder, err := os.MkdirTemp("", "strip-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	stripped := filepath.Join(folder, "stripped")
	output, err := exec.Command("strip", "--strip-all", "-o", stripped, binary).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("install the package binutils: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("strip %s: %w: %s", binary, err, output)
	}
	return os.ReadFile(stripped)
}

// libraries finds what a program is linked to, and the loader that links it: where each is looked for in the image, and where it is
// on this machine. A static program needs nothing.
func libraries(binary string) (map[string]string, error) {
	loader, err := loaderOf(binary)
	if err != nil || loader == "" {
		return nil, err
	}
	output, err := exec.Command("ldd", binary).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w: %s", binary, err, output)
	}
	found, err := parse(string(output))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", binary, err)
	}
	found[loader] = loader
	return found, nil
}

// parse reads what ldd says: lines such as "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f…)". The loader and the
// kernel's own library have no arrow.
func parse(output string) (map[string]string, error) {
	found := map[string]string{}
	for line := range strings.Lines(output) {
		name, place, arrow := strings.Cut(strings.TrimSpace(line), " => ")
		if !arrow {
			continue
		}
		file, _, _ := strings.Cut(place, " (")
		if !filepath.IsAbs(file) {
			return nil, fmt.Errorf("the library %s is %s", name, place)
		}
		found[file] = file
	}
	return found, nil
}

// loaderOf reads which loader a program asks for; empty for a static one.
func loaderOf(binary string) (string, error) {
	file, err := elf.Open(binary)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", binary, err)
	}
	defer file.Close()
	for _, part := range file.Progs {
		if part.Type != elf.PT_INTERP {
			continue
		}
		text := make([]byte, part.Filesz)
		if _, err := part.ReadAt(text, 0); err != nil {
			return "", err
		}
		return strings.TrimRight(string(text), "\x00"), nil
	}
	return "", nil
}
