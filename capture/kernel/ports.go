package kernel

import "slices"

// A PortRange is the ports From ≤ port ≤ To.
type PortRange struct{ From, To uint16 }

// PortRanges returns ranges that have all the ports, at most so many: beyond that, those
// with the smallest gaps between them are made one.
func PortRanges(ports []uint16, most int) []PortRange {
	ports = slices.Compact(slices.Sorted(slices.Values(ports)))
	if len(ports) == 0 {
		return nil
	}
	gaps := make([]int, 0, len(ports))
	for i := 1; i < len(ports); i++ {
		gaps = append(gaps, int(ports[i])-int(ports[i-1]))
	}
	slices.Sort(gaps)
	joined := 1 // ports at most so far apart are in one range
	if i := len(gaps) - most; i >= 0 {
		joined = max(joined, gaps[i])
	}
	ranges := []PortRange{{ports[0], ports[0]}}
	for _, p := range ports[1:] {
		if last := &ranges[len(ranges)-1]; int(p)-int(last.To) <= joined {
			last.To = p
		} else {
			ranges = append(ranges, PortRange{p, p})
		}
	}
	return ranges
}
