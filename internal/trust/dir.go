package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// A Dir is a directory in which a replayer keeps who it is and whom it knows:
//
//	replayer.pem   its key and certificate, mode 0600
//	tokens/NAME    the hash of a token; without the file it is not valid
//	NAME.join      the join file, to be copied and deleted: it is never read
//
// It is read anew at each question, so what is changed there holds at once, and
// several processes may change it.
type Dir struct{ path string }

const (
	keyFile    = "replayer.pem"
	tokenDir   = "tokens"
	joinSuffix = ".join"

	// FirstToken is the name of the token that is made with the key.
	FirstToken = "default"
)

// OpenDir opens a directory, and makes it if it is not there.
func OpenDir(path string) (*Dir, error) {
	d := &Dir{path}
	if err := os.MkdirAll(filepath.Join(path, tokenDir), 0o700); err != nil {
		return nil, err
	}
	return d, nil
}

// Path is where it is.
func (d *Dir) Path() string { return d.path }

// Certificate returns the replayer's key and certificate, and makes them if
// they are not there. made says that it did.
func (d *Dir) Certificate() (cert tls.Certificate, made bool, err error) {
	path := filepath.Join(d.path, keyFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if made, err = d.makeKey(path); err != nil {
			return cert, false, err
		}
	}
	if err := private(path); err != nil {
		return cert, false, err
	}
	b, err := readSmall(path, 64<<10)
	if err != nil {
		return cert, false, err
	}
	if cert, err = tls.X509KeyPair(b, b); err != nil {
		return cert, false, fmt.Errorf("%s: %w", path, err)
	}
	return cert, made, nil
}

// private refuses a file that everybody can read.
func private(path string) error {
	info, err := os.Stat(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("%s is open to all users (%v): chmod 600 it, or remove it for a new key", path, info.Mode().Perm())
	}
	return err
}

// makeKey writes a new key and certificate, whole or not at all. It reports
// false if another process was faster.
func (d *Dir) makeKey(path string) (bool, error) {
	b, err := newKey()
	if err != nil {
		return false, err
	}
	f, err := os.CreateTemp(d.path, ".replayer-*") // of mode 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil { // not every file system has links
		err = os.Rename(f.Name(), path)
	}
	return err == nil, err
}

// newKey returns a key and a certificate signed by itself, in PEM. The
// certificate is known by its fingerprint, and does not expire (RFC 5280 §4.1.2.5).
func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: "kagami replayer"},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), // clocks may be wrong
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...), nil
}
