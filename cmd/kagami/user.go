package main

import (
	"fmt"
	"os/user"
	"strconv"
)

// An identity is a user to become.
type identity struct {
	name     string
	uid, gid int
}

// lookUpUser finds a user by name or number. A number need not be in the list of users:
// its group has the same number then, as images have it.
func lookUpUser(name string) (identity, error) {
	u, err := user.Lookup(name)
	number, notNumber := strconv.ParseUint(name, 10, 31)
	if err != nil && notNumber == nil {
		if u, err = user.LookupId(name); err != nil {
			return identity{name, int(number), int(number)}, nil
		}
	}
	if err != nil {
		return identity{}, usagef("--user %s: there is no such user: name another, or a number, or make it: sudo useradd --system %s", quoteIfOdd(name), name)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return identity{}, fmt.Errorf("--user %s: %w", name, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return identity{}, fmt.Errorf("--user %s: %w", name, err)
	}
	return identity{u.Username, uid, gid}, nil
}

// userOption is --user.
func userOption() option {
	return process("user", "NAME", groupProcess, "give up root when everything is open: go on as this user (a name or a number), with nothing but the right to capture",
		func(c *Config) value { return stringValue{&c.User} })
}
