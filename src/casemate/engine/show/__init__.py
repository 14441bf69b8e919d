"""What people and programs see of containers and images: docker's documents."""
