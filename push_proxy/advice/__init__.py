"""What people are told about a call: texts in several languages, from a file anybody can edit."""
