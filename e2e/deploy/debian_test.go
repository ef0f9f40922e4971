package deploy

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What stands in for images of a registry is made of Debian packages that are
// installed here: their files, and those of all they depend on.

// A rootfs is a file system as a tar archive in the making.
type rootfs struct {
	w    *tar.Writer
	seen map[string]bool
	err  error
}

// A debianImage is an image of installed packages.
type debianImage struct {
	name     string
	packages []string
	also     string        // what add depends on, beside this function
	add      func(*rootfs) // puts in what no package has
	changes  []string      // as for docker import
}

// keyLabel is the label of an image that says what it was made of; the number is that of how.
const keyLabel = "kagami.made-of.2"

// importDebian makes an image, where the engine does not have it yet.
func (e *engine) importDebian(t testing.TB, i debianImage) {
	t.Helper()
	packages := closure(t, i.packages)
	key := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, packages, i.also, i.changes)))
	if made, err := e.try("inspect", "-f", `{{index .Config.Labels "`+keyLabel+`"}}`, i.name); err == nil && made == key {
		return
	}
	var args []string
	for _, c := range append(i.changes, "LABEL "+keyLabel+"="+key) {
		args = append(args, "--change", c)
	}
	cmd := e.command("docker", slices.Concat([]string{"import"}, args, []string{"-", i.name})...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // half an image is none, should add fail
	r := &rootfs{w: tar.NewWriter(in), seen: map[string]bool{}}
	r.base()
	for _, path := range filesOf(t, packages) {
		r.path(path)
	}
	if i.add != nil {
		i.add(r)
	}
	if r.err == nil {
		r.err = r.w.Close()
	}
	in.Close()
	if err := cmd.Wait(); err != nil || r.err != nil {
		t.Fatalf("docker import %s: %v, %v\n%s", i.name, r.err, err, said.String())
	}
}

// output are the lines that a command prints.
func output(t testing.TB, name string, args ...string) []string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil && name != "dpkg-query" { // which fails where one of many is unknown
		t.Fatalf("%s: %v", name, err)
	}
	return strings.Split(string(out), "\n")
}

// closure lists the packages, and all that they need, and the packages that every
// Debian has, as they are installed: NAME=VERSION.
func closure(t testing.TB, packages []string) (all []string) {
	t.Helper()
	for _, line := range output(t, "dpkg-query", "-W", "-f", "${Essential} ${Package}\n") {
		if name, ok := strings.CutPrefix(line, "yes "); ok {
			packages = append(packages, name)
		}
	}
	var names []string
	for _, line := range output(t, "apt-cache", append([]string{"depends", "--recurse", "--installed", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances"}, packages...)...) {
		if line != "" && !strings.ContainsAny(line[:1], " |<") {
			names = append(names, line)
		}
	}
	for _, line := range output(t, "dpkg-query", append([]string{"-W", "-f", "${db:Status-Abbrev} ${binary:Package}=${Version}\n"}, names...)...) {
		if installed, ok := strings.CutPrefix(line, "ii  "); ok {
			all = append(all, installed)
		}
	}
	slices.Sort(all)
	return all
}

// filesOf lists what packages of closure have installed.
func filesOf(t testing.TB, packages []string) []string {
	t.Helper()
	args := []string{"-L"}
	for _, p := range packages {
		name, _, _ := strings.Cut(p, "=")
		args = append(args, name)
	}
	files := slices.DeleteFunc(output(t, "dpkg-query", args...), func(path string) bool {
		if !strings.HasPrefix(path, "/") {
			return true
		}
		for _, part := range []string{"doc", "man", "locale", "info", "lintian"} {
			if strings.HasPrefix(path, "/usr/share/"+part+"/") {
				return true
			}
		}
		return false
	})
	slices.Sort(files)
	return slices.Compact(files)
}

// base puts in what makes a Debian of packages: where /bin points to, users, what is
// installed as far as dpkg knows. apt gets no sources, so that it asks nobody.
func (r *rootfs) base() {
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		r.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: dir, Linkname: "usr/" + dir, Mode: 0o777})
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "root", "usr/local/bin", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log", "etc/apt"} {
		r.dir(dir, 0o755)
	}
	r.dir("tmp", 0o1777)
	for _, path := range []string{"/etc/passwd", "/etc/group", "/etc/ld.so.cache", "/etc/ssl/certs/ca-certificates.crt", "/var/lib/dpkg/status"} {
		r.path(path)
	}
}

func (r *rootfs) header(h *tar.Header) bool {
	if r.err != nil || r.seen[h.Name] {
		return false
	}
	r.seen[h.Name] = true
	r.err = r.w.WriteHeader(h)
	return r.err == nil
}

func (r *rootfs) dir(name string, mode int64) {
	if parent := filepath.Dir(name); parent != "." && !r.seen[parent+"/"] && !r.seen[parent] {
		r.dir(parent, 0o755)
	}
	r.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

// file puts in a file with a text.
func (r *rootfs) file(name, text string, mode int64) {
	r.dir(filepath.Dir(name), 0o755)
	if r.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: mode}) {
		_, r.err = io.WriteString(r.w, text)
	}
}

// path puts in a file, link or directory of this machine, under the same name.
// What a package has, and somebody has deleted, is left out.
func (r *rootfs) path(path string) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path)) // /bin/sh is /usr/bin/sh
	if err == nil {
		path = filepath.Join(dir, filepath.Base(path))
		r.as(path, strings.TrimPrefix(path, "/"))
	}
}

// as is path under another name.
func (r *rootfs) as(path, name string) {
	info, err := os.Lstat(path)
	if err != nil || r.err != nil || name == "" {
		return
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, r.err = os.Readlink(path); r.err != nil {
			return
		}
	} else if !info.Mode().IsRegular() && !info.IsDir() {
		return
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		r.err = err
		return
	}
	h.Name, h.Uname, h.Gname = name, "", ""
	if info.IsDir() {
		h.Name += "/"
	} else if parent := filepath.Dir(name); !r.seen[parent+"/"] {
		r.dir(parent, 0o755)
	}
	if !r.header(h) || !info.Mode().IsRegular() {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		r.err = err
		return
	}
	defer f.Close()
	if _, err := io.Copy(r.w, f); err != nil {
		r.err = fmt.Errorf("%s: %w", path, err)
	}
}

// tree puts in a directory with all that is in it, under another name.
func (r *rootfs) tree(dir, name string, leaveOut ...string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if slices.Contains(leaveOut, rel) {
			return fs.SkipDir
		}
		r.as(path, filepath.Join(name, rel))
		return err
	})
	if r.err == nil {
		r.err = err
	}
}
