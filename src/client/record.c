/* record: the headers block. See record.h. */
#include "client/record.h"

uint64_t lt_record_headers_size(const leat_header *headers, size_t count)
{
    uint64_t size = 0;
    if (headers == NULL)
        return count == 0 ? 0 : UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        const leat_header *h = &headers[i];
        if (h->name == NULL || (h->value == NULL && h->value_size != 0))
            return UINT64_MAX;
        if (h->name_size >= LT_NULL_SIZE || h->value_size >= LT_NULL_SIZE || size >= LT_NULL_SIZE)
            size = LT_NULL_SIZE; /* more than anything can hold */
        else
            size += LT_HEADER_FIXED + h->name_size + h->value_size;
    }
    return size;
}

struct lt_record_size lt_record_measure_odd(const leat_record *record)
{
    struct lt_record_size size = { .total = LT_RECORD_SENSELESS };
    if ((record->key == NULL && record->key_size != 0) || (record->value == NULL && record->value_size != 0))
        return size;
    uint64_t headers = lt_record_headers_size(record->headers, record->header_count);
    if (headers == UINT64_MAX)
        return size;
    size.total = LT_RECORD_HUGE;
    if (record->key_size >= LT_NULL_SIZE || record->value_size >= LT_NULL_SIZE || headers >= LT_NULL_SIZE)
        return size;
    size.headers = (uint32_t)headers;
    size.total = (uint64_t)record->value_size + record->key_size + headers;
    return size;
}

void lt_record_headers_write(unsigned char *to, const leat_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const leat_header *h = &headers[i];
        uint32_t sizes[2] = { (uint32_t)h->name_size,
                              h->value != NULL ? (uint32_t)h->value_size : LT_NULL_SIZE };
        lt_shared_copy(to, sizes, sizeof sizes);
        to += sizeof sizes;
        lt_record_copy(to, h->name, h->name_size);
        to += h->name_size;
        if (h->value != NULL)
            lt_record_copy(to, h->value, h->value_size);
        to += h->value_size;
    }
}

int lt_record_headers_read(const unsigned char *from, uint32_t size, leat_header *out, uint32_t room)
{
    uint32_t count = 0;
    while (size != 0) {
        uint32_t sizes[2];
        if (size < sizeof sizes)
            return -1;
        lt_shared_copy(sizes, from, sizeof sizes);
        lt_fence_light(); /* from here on the copy is used, and never read again from there */
        from += sizeof sizes;
        size -= (uint32_t)sizeof sizes;
        uint32_t value_size = sizes[1] == LT_NULL_SIZE ? 0 : sizes[1];
        if (sizes[0] > size || value_size > size - sizes[0])
            return -1;
        if (count == room)
            return -2;
        out[count++] = (leat_header){ .name = from,
                                      .name_size = sizes[0],
                                      .value = sizes[1] == LT_NULL_SIZE ? NULL : from + sizes[0],
                                      .value_size = value_size };
        from += sizes[0] + value_size;
        size -= sizes[0] + value_size;
    }
    return (int)count;
}
