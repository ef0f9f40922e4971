package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// A Fingerprint is the SHA-256 of a certificate (of its DER).
type Fingerprint [sha256.Size]byte

const fingerprintPrefix = "sha256:"

// FingerprintOf returns the fingerprint of a certificate.
func FingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// String writes it as sha256: and 64 hex digits.
func (f Fingerprint) String() string { return fingerprintPrefix + hex.EncodeToString(f[:]) }

// ParseFingerprint reads what String wrote.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	digits, ok := strings.CutPrefix(s, fingerprintPrefix)
	if b, err := hex.DecodeString(digits); ok && err == nil && len(b) == len(f) {
		return Fingerprint(b), nil
	}
	return f, errors.New("want a fingerprint as sha256: and 64 hex digits")
}
