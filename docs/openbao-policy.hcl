# What Gotgan's token needs of an OpenBao or Vault server whose Transit engine is mounted at transit/.
path "transit/keys/+" {
  capabilities = ["create", "read", "update", "delete"]
}
path "transit/keys/+/rotate" {
  capabilities = ["update"]
}
path "transit/encrypt/+" {
  capabilities = ["update"]
}
path "transit/decrypt/+" {
  capabilities = ["update"]
}
path "transit/hmac/+" {
  capabilities = ["update"]
}
# To destroy a key when its destruction was approved by two persons and is due. Leave these out where the tenant deletes keys itself.
path "transit/keys/+/config" {
  capabilities = ["update"]
}
# The same for one bucket: the versions of the key that its bucket key hung on.
path "transit/keys/+/trim" {
  capabilities = ["update"]
}
# For keys that a tenant brings.
path "transit/wrapping_key" {
  capabilities = ["read"]
}
path "transit/keys/+/import" {
  capabilities = ["update"]
}
