/* hash: XXH3-64 with a seed, of many bytes: by the widest instructions that this CPU has. The value is the same by any.
 *
 * leat is built for the oldest CPUs of a kind; where all bytes of a log are hashed that would be half of what reading it costs.
 */
#ifndef LT_STORE_HASH_H
#define LT_STORE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t lt_store_hash(const void *bytes, size_t size, uint64_t seed);

#endif
