package compare

import "bytes"

// literal passes over a name such as true.
func (p *parser) literal(s string) error {
	if !bytes.HasPrefix(p.src[p.at:], []byte(s)) {
		return errSyntax
	}
	p.at += len(s)
	return nil
}

// skipText passes over a text and reports whether it has escapes.
func (p *parser) skipText() (escaped bool, err error) {
	for p.at++; p.at < len(p.src); p.at++ {
		switch c := p.src[p.at]; {
		case c == '"':
			p.at++
			return escaped, nil
		case c < ' ':
			return escaped, errSyntax
		case c == '\\':
			escaped = true
			if p.at++; !p.skipEscape() {
				return escaped, errSyntax
			}
		}
	}
	return escaped, errSyntax
}

// skipEscape passes over what follows a backslash, but for its last byte.
func (p *parser) skipEscape() bool {
	switch p.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			if p.at++; !isHex(p.peek()) {
				return false
			}
		}
		return true
	}
	return false
}

// skipNumber passes over a number (RFC 8259 §6).
func (p *parser) skipNumber() error {
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++
	} else if !p.skipDigits() {
		return errSyntax
	}
	if p.peek() == '.' {
		if p.at++; !p.skipDigits() {
			return errSyntax
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if !p.skipDigits() {
			return errSyntax
		}
	}
	return nil
}

func (p *parser) skipDigits() bool {
	from := p.at
	for isDigit(p.peek()) {
		p.at++
	}
	return p.at > from
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
