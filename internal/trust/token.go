package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// A Token is what a listener proves itself with: a name, which is no secret,
// and 32 random bytes. So many need no salt, nor a slow hash.
type Token struct {
	Name   string
	secret string // base64url
}

const (
	maxTokenName = 64
	tokenBytes   = 32
)

// NewToken draws a token.
func NewToken(name string) (Token, error) {
	if err := CheckTokenName(name); err != nil {
		return Token{}, err
	}
	var b [tokenBytes]byte
	if _, err := rand.Read(b[:]); err != nil {
		return Token{}, err
	}
	return Token{name, base64.RawURLEncoding.EncodeToString(b[:])}, nil
}

// CheckTokenName says what is wrong with a name. It is a file's name too.
func CheckTokenName(name string) error {
	if name == "" || len(name) > maxTokenName || strings.ContainsFunc(name, notInName) || name[0] == '.' || name[0] == '-' {
		return fmt.Errorf("token name %.80q: want 1 to %d of a-z, 0-9, - _ and ., of which the last and - do not come first", name, maxTokenName)
	}
	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// Text is the token as it is sent and written down: NAME:SECRET. There is no
// String, so that it is not printed by mistake.
func (t Token) Text() string { return t.Name + ":" + t.secret }

// Format keeps the secret out of what is printed.
func (t Token) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "token %q", t.Name) }

// ParseToken reads what Text wrote. No error repeats it.
func ParseToken(s string) (Token, error) {
	name, secret, _ := strings.Cut(s, ":")
	if CheckTokenName(name) != nil {
		return Token{}, errors.New("want a token as NAME:SECRET")
	}
	if b, err := base64.RawURLEncoding.Strict().DecodeString(secret); err != nil || len(b) != tokenBytes {
		return Token{}, fmt.Errorf("the secret of token %q is not whole", name)
	}
	return Token{name, secret}, nil
}

// A tokenHash is all that a replayer keeps of a token.
type tokenHash [sha256.Size]byte

func (t Token) hash() tokenHash { return sha256.Sum256([]byte(t.secret)) }

// is compares in a time that does not depend on where they differ.
func (h tokenHash) is(other tokenHash) bool {
	return subtle.ConstantTimeCompare(h[:], other[:]) == 1
}
