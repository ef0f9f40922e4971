package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Files are a certificate, its key, and those of the authorities whose
// certificates the peer may have, in PEM. They are read again when one of them
// has changed; where that fails, what was read before stays.
type Files struct {
	CA, Cert, Key string
	// Notify, if set, is told once why they could not be read again.
	Notify func(error)

	mu     sync.Mutex
	stamps [3]stamp
	loaded *loadedFiles
	tried  [3]stamp // which failed to be read
}

// A stamp tells two states of a file from one another.
type stamp struct {
	size int64
	time time.Time
	info fs.FileInfo
}

func (s stamp) same(o stamp) bool {
	return s.size == o.size && s.time.Equal(o.time) && s.info != nil && o.info != nil && os.SameFile(s.info, o.info)
}

type loadedFiles struct {
	cert  tls.Certificate
	roots *x509.CertPool
}

// Load reads the files, if they were not read yet or one has changed.
func (f *Files) Load() error {
	_, err := f.load()
	return err
}

func (f *Files) load() (*loadedFiles, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamps, err := f.stat()
	if err == nil && f.loaded != nil && same(stamps, f.stamps) {
		return f.loaded, nil
	}
	if f.loaded != nil && same(stamps, f.tried) {
		return f.loaded, nil
	}
	var l *loadedFiles
	if err == nil {
		l, err = f.read()
	}
	if err == nil {
		f.loaded, f.stamps, f.tried = l, stamps, [3]stamp{}
		return l, nil
	}
	if f.loaded == nil {
		return nil, err
	}
	if f.Notify != nil && !same(stamps, f.tried) {
		f.Notify(fmt.Errorf("the certificates were not read again: %w", err))
	}
	f.tried = stamps
	return f.loaded, nil
}

func same(a, b [3]stamp) bool {
	return a[0].same(b[0]) && a[1].same(b[1]) && a[2].same(b[2])
}

func (f *Files) stat() (stamps [3]stamp, err error) {
	for i, path := range []string{f.CA, f.Cert, f.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return stamps, err
		}
		stamps[i] = stamp{info.Size(), info.ModTime(), info}
	}
	return stamps, nil
}

// maxPEM is how large a file of certificates may be: a system's authorities
// are a quarter of it.
const maxPEM = 1 << 20

func (f *Files) read() (*loadedFiles, error) {
	ca, err := readSmall(f.CA, maxPEM)
	if err != nil {
		return nil, err
	}
	l := &loadedFiles{roots: x509.NewCertPool()}
	if !l.roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s: no certificate in it, want PEM", f.CA)
	}
	cert, err := readSmall(f.Cert, maxPEM)
	if err != nil {
		return nil, err
	}
	key, err := readSmall(f.Key, maxPEM)
	if err != nil {
		return nil, err
	}
	if l.cert, err = tls.X509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	return l, nil
}

// admit checks the certificate that a listener has shown.
func (f *Files) admit(state tls.ConnectionState) (*Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return nil, untrusted("the listener has no certificate: it needs --tls-ca, --tls-cert and --tls-key")
	}
	certs := state.PeerCertificates
	by, err := f.verify(certs)
	if err != nil {
		return nil, err
	}
	id := &Identity{Name: certs[0].Subject.CommonName}
	if id.Name == "" && len(certs[0].DNSNames) > 0 {
		id.Name = certs[0].DNSNames[0]
	}
	id.still = func() error {
		l, err := f.load()
		if err != nil || l == by && time.Now().Before(certs[0].NotAfter) {
			return nil
		}
		by, err = f.verify(certs)
		return err
	}
	return id, nil
}

func (f *Files) verify(certs []*x509.Certificate) (by *loadedFiles, err error) {
	l, err := f.load()
	if err != nil {
		return nil, err
	}
	options := x509.VerifyOptions{
		Roots: l.roots, Intermediates: x509.NewCertPool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range certs[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := certs[0].Verify(options); err != nil {
		return nil, untrusted("the listener's certificate: %v", certificateError(err))
	}
	return l, nil
}

// certificateError leaves out of an error what was found in a certificate.
func certificateError(err error) error {
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return errors.New("it has expired, or is not valid yet")
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return errors.New("it is not one for clients (extended key usage clientAuth)")
	case errors.As(err, &authority):
		return errors.New("it is of an authority that the replayer does not know")
	}
	return err
}
