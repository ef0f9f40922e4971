package replay

// BreakFile makes what is written to the state's journal fail.
func (s *State) BreakFile() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.Close()
}
