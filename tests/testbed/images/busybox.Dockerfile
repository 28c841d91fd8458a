FROM scratch
RUN apt-get update && apt-get install -y --no-install-recommends busybox-static
CMD ["sh"]
