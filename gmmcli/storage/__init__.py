"""Files by name, local or remote: addresses, opening, and files that appear whole or not at all."""
